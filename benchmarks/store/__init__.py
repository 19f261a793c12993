"""The model store beside huggingface_hub, boto3, plain copies and the machine's own limits.

python -m benchmarks.store [cold warm crowd verify resume faults load]
"""
