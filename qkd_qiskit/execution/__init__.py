"""Where circuits run: compilation, noise, Aer, IBM devices. The only place that imports Aer or Runtime."""
