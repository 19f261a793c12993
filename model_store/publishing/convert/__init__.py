"""Conversion on the way from a source to a store, in a child process: torch never enters the publishing one."""

from model_store.publishing.convert.converting import Converted, converted
from model_store.publishing.convert.recipes import COMPUTE_TYPES, Recipe

__all__ = ["COMPUTE_TYPES", "Converted", "Recipe", "converted"]
