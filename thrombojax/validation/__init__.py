"""What the model is held against: the signatures that biologists know each mechanism by."""
