"""The instrument that tests the claims of amorsize: regret against every rival, and forecast error."""
