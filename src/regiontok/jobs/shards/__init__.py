"""`regiontok shards`: images and what is known of their regions as pretraining shards."""
