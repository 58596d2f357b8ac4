"""One way to run a notebook with nbval and to hear its checks."""
