"""The tests of unhaze, in folders that mirror src/unhaze."""
