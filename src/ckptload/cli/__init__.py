"""The command line, which uses the public functions of ckptload only."""
