"""Stage `labels`: all votes to one refined label per training clip, with an audit row for each."""
