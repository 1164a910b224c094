"""What a torch module computes, compared with what MindSpore computed."""
