"""Ways to join the columns. One file each; its name is the value of `type:`."""
