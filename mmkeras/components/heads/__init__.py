"""Tasks. One file each; its name is the value of `type:`."""
