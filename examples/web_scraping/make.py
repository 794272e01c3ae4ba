"""100 pages of a local site: title and links of each."""
import os, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import batch

path = batch.folder()
os.makedirs(os.path.join(path, "site"), exist_ok=True)
for i in range(100):
    links = "".join(f"<a href='page{(i + step) % 100}.html'>next {step}</a>" for step in (1, 7, 13))
    with open(os.path.join(path, "site", f"page{i}.html"), "w") as file:
        file.write(f"<html><head><title>Page {i}</title></head><body>{links}</body></html>")
code = """import html.parser, json, urllib.request
page = urllib.request.urlopen('http://127.0.0.1:' + open('port').read() + '/page{number}.html').read().decode()
try:
    from bs4 import BeautifulSoup
    soup = BeautifulSoup(page, 'html.parser')
    title, links = soup.title.string, [a['href'] for a in soup.find_all('a')]
except ImportError:
    class Parser(html.parser.HTMLParser):
        title, links, inside = '', [], False
        def handle_starttag(self, tag, attributes):
            self.inside = tag == 'title'
            if tag == 'a': self.links.append(dict(attributes)['href'])
        def handle_data(self, text):
            if self.inside: self.title, self.inside = text, False
    parser = Parser()
    parser.feed(page)
    title, links = parser.title, parser.links
print(json.dumps({{'title': title, 'links': links}}))
"""
tasks = [batch.python(f"scrape page {i}", code.format(number=i), timeout=10) for i in range(100)]
serve = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "serve.py")
run = f"python3 {os.path.normpath(serve)} {{folder}} -- batch-executor run {{batch}} --max-concurrent 8"
batch.write(path, "web scraping", tasks, run)
