"""Small tools for a hands-on course on variational inference.

The rooms, from the ground up; a room imports only from those above it in this list:

- ``errors``: the one kind of exception that speaks to people;
- ``montecarlo``: averages of samples and how far to trust them;
- ``bounds``: the ELBO, the importance-weighted bound, the diagonal normal;
- ``data``: MNIST, and drawing binary images from grey ones;
- ``models``: Flax modules, among them the variational autoencoder;
- ``training``: ``fit``, the one trainer;
- ``evaluation``: how good a trained model is, on data it has not seen;
- ``pretrained``: VAEs that were trained before, with their recipes;
- ``plots``: the figures that several notebooks draw;
- ``widgets``: explorers that run in the browser;
- ``coursework``: student copies, checks and grades; it runs notebooks and knows no model;
- ``cli``: the ``course`` command.
"""
