"""What params.yaml says: its sections, the components that they name, the project's paths and its steps."""
