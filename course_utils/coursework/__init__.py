"""From one source notebook to student copies, checks and grades. Runs notebooks with nbval and knows no model."""
