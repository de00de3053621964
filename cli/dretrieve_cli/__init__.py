"""The command line of dretrieve: flags only, one file a command; the library is imported inside it."""
