"""Features that were made elsewhere: tables and folders of arrays, named by clip."""
