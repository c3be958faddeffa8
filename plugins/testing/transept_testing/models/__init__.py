"""The checks of a model, one file for each subject."""
