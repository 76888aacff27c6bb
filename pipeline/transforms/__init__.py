"""Label-preserving changes of images: on the fly in batches, or one image at a time to be stored."""
