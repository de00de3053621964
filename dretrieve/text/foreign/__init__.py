"""The forms of other tools, each read into our records: corpora, queries, training rows with texts inside."""
