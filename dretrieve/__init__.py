"""dretrieve: from raw text to the tables of dense-retrieval papers. Importing it loads nothing else."""

__version__ = "0.1.0"
