"""Write a step yourself and hear what is wrong with it."""
