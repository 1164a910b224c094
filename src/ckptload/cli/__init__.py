"""The command line: everything here uses the public functions of ckptload only."""
