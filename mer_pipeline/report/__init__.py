"""The report: everything that the pipeline found, on one static page that needs nothing but itself."""
