"""unhaze clears haze from photos, and trains the networks that do so."""
