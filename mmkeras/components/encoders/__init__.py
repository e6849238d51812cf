"""One file for each way to read a column: the file's name is the value of `encoder:` in a config."""
