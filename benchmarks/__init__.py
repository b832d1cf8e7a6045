"""The instrument that proves or disproves what amorsize claims: regret against every rival, and forecast error."""
