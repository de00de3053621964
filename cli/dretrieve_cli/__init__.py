"""The command line of dretrieve: a command is made from its job's config and imports the job when it runs."""
