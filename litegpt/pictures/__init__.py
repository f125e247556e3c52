"""Pictures: pages and plots of what was trained and what a model does."""
