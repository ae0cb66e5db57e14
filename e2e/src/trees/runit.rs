//! placeholder
use super::recipe::Recipe;
pub const RECIPES: [Recipe; 0] = [];
