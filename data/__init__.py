"Dataset cards. The folder is packed as `collapse_nb.cards`, and holds no code."
