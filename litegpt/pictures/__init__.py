"""Pictures: pages and plots of what was trained and what a model does."""

from litegpt.pictures.attention import attention_page, plot_attention
from litegpt.pictures.page import write_page

__all__ = ["attention_page", "plot_attention", "write_page"]
