"""This machine and this process: cores, memory, GPU, locale, proxies, what is imported when."""
