"""The pages: a Gradio form for starting runs, and static JavaScript for everything that is live."""
