"""The methods: one paper one file, behind one interface (`base`), found by name (`registry`)."""
