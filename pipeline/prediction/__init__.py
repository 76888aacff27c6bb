"""What a trained arm says of new images: files to pixels, a model of ours or an ONNX file, answers to a table."""
