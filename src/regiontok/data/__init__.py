"""Training data: records -> ids, labels and pictures, in an order that resumes."""
