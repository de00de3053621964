"""BM25: words of a text, postings, scores as Lucene's, the embedded index and Lucene itself."""
