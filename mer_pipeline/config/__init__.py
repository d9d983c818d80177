"""The configuration: the sections of params.yaml, the components that they name, the project's paths and its steps."""
