"""What a model file holds: readers for every format, that execute nothing, and which tensors are embedding tables"""
