"""The command `mer`, with one module for each subcommand or group of subcommands."""
