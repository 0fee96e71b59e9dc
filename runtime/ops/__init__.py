"""Operations of the forward pass, each with a PyTorch reference and a dispatch by device."""
