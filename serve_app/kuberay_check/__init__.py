"""The manifests of kuberay/, checked as the API server and the operator would: `python -m serve_app.kuberay_check`."""
