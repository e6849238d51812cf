"""Kinds of column. One file each; its name is the value of `type:`."""
