"""The explorers as a student meets them: in JupyterLab, with a mouse and a keyboard."""
