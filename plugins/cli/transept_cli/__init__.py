"""The transept command line: subcommands are plugins, found like everything else."""

__version__ = "0.1.0"
