"""What runs in the browser, the player and the explorer, and what hands data to them."""
