"""`python -m perfnet_tf COMMAND ...` is `perfnet COMMAND ...`."""

from perfnet_tf.cli.main import run

if __name__ == "__main__":
    run()
