"""The subcommands of `medvint`, one file each; heavy imports stay inside the functions so that `--help` is fast."""
