"""From numbers to drawings: one small module for each family of figures, all on the same canvas."""
