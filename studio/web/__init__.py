"""The web side: FastAPI routes over one service, the only door to data. No Gradio, no torch."""
