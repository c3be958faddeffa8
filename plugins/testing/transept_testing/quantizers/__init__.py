"""The checks of a quantizer, one file for each subject."""
