"""From a stored run to the numbers behind each figure: pure functions, plain data, no drawing."""
