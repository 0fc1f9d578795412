"""Where pointers come from and what is done through them: what no DDI argument shows."""
